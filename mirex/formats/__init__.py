"""The field's text formats: file lists, distance matrices, cliques files."""
