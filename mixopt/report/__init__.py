"""Figures, tables and the static HTML report. Terminal tables are in ``mixopt.report.terminal``."""

from __future__ import annotations

from mixopt.report.fit_report import write_fit
from mixopt.report.report_data import ReportData, report_data
from mixopt.report.study_page import render_report, write_report

__all__ = ["ReportData", "render_report", "report_data", "write_fit", "write_report"]
