"""Where outside things come from: an identity each, and the origins that yield it, in order."""
