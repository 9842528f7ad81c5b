"""From scores and proposals to answers in pixels: ranking, the vote (eq. 7), the fit. Pure functions."""
