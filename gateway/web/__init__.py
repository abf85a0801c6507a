"""The places: aiohttp lives here, and everything with a face."""
