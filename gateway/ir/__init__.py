"""The intermediate representation: what the proxies of one cluster must do, in values that know no Envoy message."""
