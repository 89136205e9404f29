"""What the notebooks share: set-up, house style, sliders, exercises. Imported by notebooks only.

What a notebook teaches never stands here: it stands in the notebook, in full.
"""
