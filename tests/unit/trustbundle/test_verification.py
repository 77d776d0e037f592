"""verify_svid against a corpus of certificates that break one rule each."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.model.errors import TrustError
from support.certificates import ROGUES, Ca, Leaf, key_usage, make_ca, make_leaf
from support.clock import START as NOW
from trustbundle.bundle import TrustBundle
from trustbundle.identity import SpiffeId, TrustDomain
from trustbundle.verification import MAX_CHAIN, verify_svid

EAST = TrustDomain("east.example")
WEST = TrustDomain("west.example")
ECHO = SpiffeId(EAST, "/ns/demo/sa/echo")
EAST_CA = make_ca(NOW, uris=["spiffe://east.example"], name="east")
WEST_CA = make_ca(NOW, uris=["spiffe://west.example"], name="west")
BUNDLES = {EAST: TrustBundle(EAST, 1, (EAST_CA.der,)), WEST: TrustBundle(WEST, 1, (WEST_CA.der,))}


def _refusal(leaf: Leaf, bundles: dict[TrustDomain, TrustBundle] = BUNDLES) -> str:
    with pytest.raises(TrustError) as caught:
        verify_svid(leaf.chain, bundles, NOW)
    return caught.value.reason


def test_good_leaf() -> None:
    """A leaf of the domain's own CA proves its SPIFFE ID."""
    assert verify_svid(make_leaf(EAST_CA, NOW, uris=[str(ECHO)]).chain, BUNDLES, NOW) == ECHO


def test_leaf_without_extended_key_usage() -> None:
    """Extended key usage may be absent."""
    leaf = make_leaf(EAST_CA, NOW, uris=[str(ECHO)], purposes=None)
    assert verify_svid(leaf.chain, BUNDLES, NOW) == ECHO


def test_chain_with_intermediate() -> None:
    """A leaf signed by an intermediate of the domain's root verifies only together with it."""
    intermediate = make_ca(NOW, name="east intermediate", issuer=EAST_CA)
    leaf = make_leaf(intermediate, NOW, uris=[str(ECHO)], intermediates=[intermediate])
    assert verify_svid(leaf.chain, BUNDLES, NOW) == ECHO
    assert _refusal(Leaf(leaf.chain[:1], leaf.key_pem)) == "UnknownAuthority"


@pytest.mark.parametrize("what", ROGUES)
def test_rogue_leaves(what: str) -> None:
    """Each rogue is refused, with the reason that names what is wrong with it."""
    rogue = ROGUES[what]
    assert _refusal(rogue.make(EAST_CA, WEST_CA, EAST, NOW)) == rogue.reason


@pytest.mark.parametrize(
    "intermediate",
    [
        make_ca(NOW, name="i", issuer=EAST_CA, is_ca=False),
        make_ca(NOW, name="i", issuer=EAST_CA, usage=key_usage("digital_signature")),
        make_ca(NOW, name="i", issuer=EAST_CA, lifetime=timedelta(minutes=-1)),
        make_ca(NOW, name="i", issuer=WEST_CA),
    ],
    ids=["no CA", "no keyCertSign", "expired", "of another domain"],
)
def test_bad_intermediates(intermediate: Ca) -> None:
    """No leaf gets through an intermediate that may not vouch for it."""
    leaf = make_leaf(intermediate, NOW, uris=[str(ECHO)], intermediates=[intermediate])
    assert _refusal(leaf) == "UnknownAuthority"


def test_root_of_one_domain_in_the_chain_of_another() -> None:
    """Sending along the CA that really signed does not make it trusted for another domain."""
    leaf = make_leaf(WEST_CA, NOW, uris=[str(ECHO)], intermediates=[WEST_CA])
    assert _refusal(leaf) == "UnknownAuthority"


def test_same_name_other_key() -> None:
    """A CA that only bears the name of the domain's CA vouches for nothing."""
    impostor = make_ca(NOW, uris=["spiffe://east.example"], name="east")
    assert _refusal(make_leaf(impostor, NOW, uris=[str(ECHO)])) == "UnknownAuthority"


def test_expired_authority() -> None:
    """A leaf does not outlive the CA that signed it."""
    expired = make_ca(NOW, name="old", lifetime=timedelta(minutes=-1))
    leaf = make_leaf(expired, NOW, uris=[str(ECHO)])
    assert _refusal(leaf, {EAST: TrustBundle(EAST, 1, (expired.der,))}) == "UnknownAuthority"


def test_revoked_domain() -> None:
    """A domain whose bundle is empty has revoked everything."""
    leaf = make_leaf(EAST_CA, NOW, uris=[str(ECHO)])
    assert _refusal(leaf, {EAST: TrustBundle(EAST, 2, ())}) == "NoAuthorities"


def test_leaf_that_is_itself_in_the_bundle() -> None:
    """A CA certificate is for validation only and never authenticates, even where it is trusted."""
    with_path = make_ca(NOW, uris=[str(ECHO)], name="east")
    assert _refusal(Leaf((with_path.der,), ""), {EAST: TrustBundle(EAST, 1, (with_path.der,))}) == "LeafIsCa"


def test_chains_of_wrong_length() -> None:
    """No certificate, or more than any mesh has, is refused before anything is computed."""
    leaf = make_leaf(EAST_CA, NOW, uris=[str(ECHO)])
    assert _refusal(Leaf((), "")) == "NoCertificate"
    assert _refusal(Leaf(leaf.chain * (MAX_CHAIN + 1), "")) == "ChainTooLong"


def test_validity_includes_both_ends() -> None:
    """A certificate is valid from its first second to its last, and not an instant longer."""
    leaf = make_leaf(EAST_CA, NOW, uris=[str(ECHO)])
    first, last = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    assert verify_svid(leaf.chain, BUNDLES, first) == ECHO
    assert verify_svid(leaf.chain, BUNDLES, last) == ECHO
    for outside in (first - timedelta.resolution, last + timedelta.resolution):
        with pytest.raises(TrustError):
            verify_svid(leaf.chain, BUNDLES, outside)


GOOD = make_leaf(EAST_CA, NOW, uris=[str(ECHO)])


# A mutated certificate may have a serial number or a time that the library warns of before it is refused.
@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=300)
@given(
    position=st.integers(0, len(GOOD.chain[0]) - 1),
    replacement=st.binary(min_size=1, max_size=3),
)
def test_damaged_certificates(position: int, replacement: bytes) -> None:
    """A certificate with any bytes changed is refused with a TrustError, never accepted, never another exception."""
    (good,) = GOOD.chain
    damaged = good[:position] + replacement + good[position + len(replacement) :]
    if damaged == good:
        return
    with pytest.raises(TrustError) as caught:
        verify_svid([damaged], BUNDLES, NOW)
    assert caught.value.reason != ""
