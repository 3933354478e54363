"""What a load showed: figures for each level, a plot, a page. Nothing here knows Locust."""
