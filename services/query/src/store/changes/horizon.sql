select
    txid_snapshot_xmin(txid_current_snapshot()) as "xid!",
    past.kept_xid,
    past.truncated_xid
from tandem.past as past
