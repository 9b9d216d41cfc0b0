select
    tables_copying as "tables_copying!",
    received_lsn as "received_lsn?: Lsn",
    applied_lsn as "applied_lsn?: Lsn",
    system_identifier as "system_identifier?",
    timeline as "timeline?",
    lsn as "lsn?: Lsn",
    written_at as "written_at?"
from tandem.applied($1)
