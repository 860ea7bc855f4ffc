"""The main job at small size: collect traces, warm up, reinforce, evaluate, report."""
