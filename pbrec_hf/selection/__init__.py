"""From scores and proposals to answers in pixels: ranking, vote (eq. 7), fit; one, any or none. Pure functions."""
