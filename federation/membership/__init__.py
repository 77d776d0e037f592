"""Who belongs: the keys that members sign with and the tokens that a site's proxies prove themselves with."""
