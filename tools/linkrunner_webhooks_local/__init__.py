"""The local stack: the real Lambda handlers on an embedded AWS and an embedded Linkrunner."""
