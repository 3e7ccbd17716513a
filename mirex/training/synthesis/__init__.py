"""Sound from scores and profiles: arranging, note patches, rendering, voicing."""
