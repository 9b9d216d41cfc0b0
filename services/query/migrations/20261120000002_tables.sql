-- The published tables. The primary has checked every row, so no check or foreign key stands here: apply would skip
-- foreign keys anyway, and a check that the primary has loosened first would stop it.

set local role tandem_owner;

create table sales.sales_transaction (
    transaction_id uuid primary key,
    transaction_time timestamptz not null,
    cashier_id integer not null,
    store_id integer not null,
    payment_method text not null,
    total_amount numeric(12, 2) not null,
    total_discount numeric(12, 2) not null,
    customer_id integer,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version bigint not null
);

-- Listings and ranges of time, newest first.
create index sales_transaction_time_idx
    on sales.sales_transaction (transaction_time desc, transaction_id desc);

create table sales.sales_item (
    item_id uuid primary key,
    transaction_id uuid not null,
    product_code text not null,
    product_name text not null,
    category text,
    quantity integer not null,
    unit_price numeric(10, 2) not null,
    discount numeric(12, 2) not null,
    total_price numeric(12, 2) not null
);

create index sales_item_transaction_id_idx on sales.sales_item (transaction_id);

create table tandem.watermark (
    writer text primary key,
    system_identifier bigint not null,
    timeline integer not null,
    lsn pg_lsn not null,
    written_at timestamptz not null
);

grant usage on schema sales, tandem to tandem_query;
grant select on sales.sales_transaction, sales.sales_item, tandem.watermark to tandem_query;

reset role;
