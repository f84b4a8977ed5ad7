"""The service: pictures in by HTTP, answers out, and a page to try it."""
