"""What comes from the web: `fetching` gets files, `archives` unpacks them, `sets` knows data sets by name."""

from otsr.download.fetching import DownloadError, cache_dir, fetch, matches

__all__ = ["DownloadError", "cache_dir", "fetch", "matches"]
