"""From the record to paper: tables, figures and a page."""
