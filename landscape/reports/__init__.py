"""Results files as one offline page: ``report``."""

from landscape.reports.contents import Contents, read_contents
from landscape.reports.write import check_page, report, report_page, write_page

__all__ = ["Contents", "check_page", "read_contents", "report", "report_page", "write_page"]
