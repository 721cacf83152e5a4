"""From rendered content to a Secret and to the files of running pods."""
