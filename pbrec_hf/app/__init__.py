"""What people use without writing code: the command line, the demo, the web page, drawings."""
