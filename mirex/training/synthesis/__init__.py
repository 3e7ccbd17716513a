"""Scores and profiles to sound: arranging, note patches, rendering, voicing."""
