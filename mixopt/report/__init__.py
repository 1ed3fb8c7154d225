"""Figures, tables and the static HTML report. Terminal tables are in ``mixopt.report.tables``."""

from __future__ import annotations

from mixopt.report.data import ReportData, report_data
from mixopt.report.page import render_report, write_report

__all__ = ["ReportData", "render_report", "report_data", "write_report"]
