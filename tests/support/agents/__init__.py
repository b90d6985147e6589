"""Programs on the official SDKs: `v1` on a2a-sdk 1.x, `v03` and `client_v03` on 0.3.x in a virtualenv of its own."""
