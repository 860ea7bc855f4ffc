"""Reads a run directory and writes one HTML page; no torch, called by no training stage."""

from __future__ import annotations

from atlas.report.page import write_report
