"""The pages of the web app, each with a function `show`."""
