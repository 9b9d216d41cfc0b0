-- Watchers are told what became of each sale between two horizons. What a sale looked like at one is told from its rows
-- and its past rows, which therefore keep everything now.

set local role tandem_owner;

-- Nobody writes past rows between the functions of before and those of now.
lock table sales.sales_transaction, sales.sales_item in share row exclusive mode;

-- Absent in rows from before.
alter table tandem.past_sale
    add column created_at timestamptz,
    add column updated_at timestamptz,
    add column version bigint;
alter table tandem.past_item
    add column product_name text,
    add column unit_price numeric(10, 2);

-- Up to and including truncated_xid nothing is known of what tables looked like: the last TRUNCATE took it along.
alter table tandem.past add column truncated_xid bigint not null default 0;
update tandem.past set kept_xid = txid_current() + 1;

create or replace function tandem.keep_past_sale() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into tandem.past_sale (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version, applied_xid, ended_xid
    )
    values (
        old.transaction_id, old.transaction_time, old.cashier_id, old.store_id, old.payment_method, old.total_amount,
        old.total_discount, old.customer_id, old.created_at, old.updated_at, old.version, old.applied_xid,
        txid_current()
    );
    return null;
end
$$;

create or replace function tandem.keep_past_item() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into tandem.past_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price,
        applied_xid, ended_xid
    )
    values (
        old.item_id, old.transaction_id, old.product_code, old.product_name, old.category, old.quantity,
        old.unit_price, old.discount, old.total_price, old.applied_xid, txid_current()
    );
    return null;
end
$$;

create or replace function tandem.begin_anew() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    truncate tandem.past_sale, tandem.past_item, tandem.rollup, tandem.product;
    update tandem.fold set folded_xid = 0, sweep_xid = 0, sweep_id = null;
    -- A horizon at this very transaction lies before it.
    update tandem.past set kept_xid = txid_current() + 1, truncated_xid = txid_current();
    return null;
end
$$;

-- Sales behind `after`, in the order of their ids, of which a row came or went at `from_xid` or later and before
-- `until_xid`, `most` at most. A few among many: found by block ranges and by what ended, never by looking at all.
create function tandem.touched_sales(from_xid bigint, until_xid bigint, after uuid, most bigint) returns uuid[]
language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_indexscan = off
set enable_indexonlyscan = off set plan_cache_mode = force_generic_plan
-- Starting helpers takes longer than all the rest.
set max_parallel_workers_per_gather = 0
as $$
begin
    return array(
        select touched.transaction_id
        from (
            select sale.transaction_id
            from sales.sales_transaction as sale
            where sale.applied_xid >= touched_sales.from_xid and sale.applied_xid < touched_sales.until_xid
            union
            select item.transaction_id
            from sales.sales_item as item
            where item.applied_xid >= touched_sales.from_xid and item.applied_xid < touched_sales.until_xid
            union
            select past.transaction_id
            from tandem.past_sale as past
            where past.ended_xid >= touched_sales.from_xid
                and (
                    past.ended_xid < touched_sales.until_xid
                    or past.applied_xid >= touched_sales.from_xid and past.applied_xid < touched_sales.until_xid
                )
            union
            select past.transaction_id
            from tandem.past_item as past
            where past.ended_xid >= touched_sales.from_xid
                and (
                    past.ended_xid < touched_sales.until_xid
                    or past.applied_xid >= touched_sales.from_xid and past.applied_xid < touched_sales.until_xid
                )
            -- Behind the unions, so that no plan walks through the ids.
            offset 0
        ) as touched
        where touched.transaction_id > touched_sales.after
        order by touched.transaction_id
        limit touched_sales.most
    );
end
$$;

reset role;
