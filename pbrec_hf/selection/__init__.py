"""From scores and proposals to answers: ranking, the vote (eq. 7), the fit, answers in pixels. Pure functions."""
