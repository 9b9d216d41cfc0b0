-- A sale and its items: one aggregate, written whole. NaN passes a numeric's precision and sorts above every
-- number, so each check has an upper bound, which refuses it.

set local role tandem_owner;

create table sales.sales_transaction (
    transaction_id uuid primary key,
    transaction_time timestamptz not null,
    cashier_id integer not null
        constraint sales_transaction_cashier_id_check check (cashier_id >= 1),
    store_id integer not null
        constraint sales_transaction_store_id_check check (store_id >= 1),
    payment_method text not null
        constraint sales_transaction_payment_method_check check (payment_method ~ '^[a-z][a-z0-9_]{0,49}$'),
    total_amount numeric(12, 2) not null
        constraint sales_transaction_total_amount_check check (total_amount between 0 and 9999999999.99),
    total_discount numeric(12, 2) not null
        constraint sales_transaction_total_discount_check check (total_discount between 0 and 9999999999.99),
    customer_id integer
        constraint sales_transaction_customer_id_check check (customer_id >= 1),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version bigint not null
        constraint sales_transaction_version_check check (version >= 1)
);

create table sales.sales_item (
    item_id uuid primary key,
    transaction_id uuid not null
        constraint sales_item_transaction_id_fkey
        references sales.sales_transaction (transaction_id) on delete cascade,
    product_code text not null
        constraint sales_item_product_code_check check (char_length(product_code) between 1 and 50),
    product_name text not null
        constraint sales_item_product_name_check check (char_length(product_name) between 1 and 200),
    category text
        constraint sales_item_category_check check (char_length(category) between 1 and 100),
    quantity integer not null
        constraint sales_item_quantity_check check (quantity between 1 and 1000000),
    unit_price numeric(10, 2) not null
        constraint sales_item_unit_price_check check (unit_price between 0 and 99999999.99),
    discount numeric(12, 2) not null
        constraint sales_item_discount_check check (discount between 0 and quantity * unit_price),
    total_price numeric(12, 2) not null
        constraint sales_item_total_price_check check (total_price = quantity * unit_price - discount)
);

-- The cascade and every read of a whole sale follow this.
create index sales_item_transaction_id_idx on sales.sales_item (transaction_id);

grant usage on schema sales to tandem_command, tandem_replication;
grant select, insert, update, delete on sales.sales_transaction, sales.sales_item to tandem_command;
grant select on sales.sales_transaction, sales.sales_item to tandem_replication;

reset role;
