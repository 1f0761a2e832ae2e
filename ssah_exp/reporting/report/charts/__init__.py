"""Figures of the page as inline SVG: classes for colours, real text, a title for each mark."""
