-- Figures that are summed up already, exact at every moment.
--
-- Every row of a sale has a date: the id of the database transaction that applied it. Rows that were changed or deleted
-- stay for a while in past_sale and past_item, with the id of the one that ended them. So what the sales looked like
-- before any id, the horizon, can still be told. The rollups hold the figures of all sales as they looked before the
-- horizon in tandem.fold; what sales have become since is added by each query, in the same snapshot, and taken into the
-- rollups from time to time, which moves the horizon. A horizon is never beyond the oldest transaction that still runs.

set local role tandem_owner;

-- By default, so that an insert needs no trigger: apply and initial copies fill in columns that the primary does not have.
alter table sales.sales_transaction add column applied_xid bigint not null default txid_current();
alter table sales.sales_item add column applied_xid bigint not null default txid_current();

-- New rows come in the order of their dates: block ranges find them, at next to no cost for an insert.
create index sales_transaction_applied_xid_idx on sales.sales_transaction
    using brin (applied_xid) with (pages_per_range = 32);
create index sales_item_applied_xid_idx on sales.sales_item
    using brin (applied_xid) with (pages_per_range = 32);

-- Listings and figures of a store.
create index sales_transaction_store_id_idx on sales.sales_transaction
    (store_id, transaction_time desc, transaction_id desc);

create table tandem.past_sale (
    transaction_id uuid not null,
    transaction_time timestamptz not null,
    cashier_id integer not null,
    store_id integer not null,
    payment_method text not null,
    total_amount numeric(12, 2) not null,
    total_discount numeric(12, 2) not null,
    customer_id integer,
    applied_xid bigint not null,
    ended_xid bigint not null,
    ended_at timestamptz not null default clock_timestamp()
);

create index past_sale_transaction_id_idx on tandem.past_sale (transaction_id);
create index past_sale_ended_xid_idx on tandem.past_sale (ended_xid);

create table tandem.past_item (
    item_id uuid not null,
    transaction_id uuid not null,
    product_code text not null,
    category text,
    quantity integer not null,
    discount numeric(12, 2) not null,
    total_price numeric(12, 2) not null,
    applied_xid bigint not null,
    ended_xid bigint not null,
    ended_at timestamptz not null default clock_timestamp()
);

create index past_item_transaction_id_idx on tandem.past_item (transaction_id);
create index past_item_ended_xid_idx on tandem.past_item (ended_xid);

-- From kept_xid on past_sale and past_item are complete.
create table tandem.past (
    is_only boolean primary key default true
        constraint past_is_only_check check (is_only),
    kept_xid bigint not null
);

insert into tandem.past (kept_xid) values (txid_current());

-- How far the rollups are. A sweep takes what was applied before sweep_xid into them, sale by sale in the order of ids,
-- in as many steps as it takes: of sales up to sweep_id the rollups hold what they looked like before sweep_xid, of the
-- others what they looked like before folded_xid. No sweep runs while sweep_id is null. Queries read the current
-- generation; another one is being built beside it.
create table tandem.fold (
    generation integer primary key
        constraint fold_generation_check check (generation >= 1),
    is_current boolean not null,
    -- Whose ids: those of another cluster, from which a dump was restored, say nothing here.
    system_identifier bigint not null,
    folded_xid bigint not null,
    sweep_xid bigint not null,
    sweep_id uuid,
    folded_at timestamptz not null default clock_timestamp()
);

create unique index fold_is_current_idx on tandem.fold (is_current) where is_current;

insert into tandem.fold (generation, is_current, system_identifier, folded_xid, sweep_xid)
select 1, true, system_identifier, 0, 0 from pg_catalog.pg_control_system();

create type tandem.grain as enum ('hour', 'day');
create type tandem.dimension as enum ('all', 'store', 'cashier', 'payment_method', 'category', 'product');

-- Figures of an hour or a day, UTC, by one dimension; of products of a day only. Texts are compared byte by byte.
create table tandem.rollup (
    generation integer not null,
    dimension tandem.dimension not null,
    grain tandem.grain not null,
    bucket timestamptz not null,
    key text collate "C" not null,
    -- Of products: each category that a product was sold under has a row. Empty: none.
    category text collate "C" not null,
    revenue numeric not null,
    transactions bigint not null,
    -- Of products: how many of the transactions also hold the product under a category before this one.
    repeats bigint not null,
    items_sold bigint not null,
    total_discount numeric not null,
    primary key (generation, dimension, grain, bucket, key, category)
) with (fillfactor = 80);

-- Its newest name and category, of the newest sale that was taken into the rollups.
create table tandem.product (
    product_code text collate "C" primary key,
    product_name text not null,
    category text,
    transaction_time timestamptz not null,
    item_id uuid not null
);

create function tandem.date_anew() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.applied_xid := txid_current();
    return new;
end
$$;

create function tandem.keep_past_sale() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into tandem.past_sale (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, applied_xid, ended_xid
    )
    values (
        old.transaction_id, old.transaction_time, old.cashier_id, old.store_id, old.payment_method, old.total_amount,
        old.total_discount, old.customer_id, old.applied_xid, txid_current()
    );
    return null;
end
$$;

create function tandem.keep_past_item() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into tandem.past_item (
        item_id, transaction_id, product_code, category, quantity, discount, total_price, applied_xid, ended_xid
    )
    values (
        old.item_id, old.transaction_id, old.product_code, old.category, old.quantity, old.discount, old.total_price,
        old.applied_xid, txid_current()
    );
    return null;
end
$$;

-- Nothing is left to be dated: with the sales go their figures, and what is left of sales is folded anew.
create function tandem.begin_anew() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    truncate tandem.past_sale, tandem.past_item, tandem.rollup, tandem.product;
    update tandem.fold set folded_xid = 0, sweep_xid = 0, sweep_id = null;
    update tandem.past set kept_xid = txid_current();
    return null;
end
$$;

create trigger date_anew before update on sales.sales_transaction
    for each row execute function tandem.date_anew();
create trigger date_anew before update on sales.sales_item
    for each row execute function tandem.date_anew();
create trigger keep_past_sale after update or delete on sales.sales_transaction
    for each row when (old.applied_xid <> txid_current()) execute function tandem.keep_past_sale();
create trigger keep_past_item after update or delete on sales.sales_item
    for each row when (old.applied_xid <> txid_current()) execute function tandem.keep_past_item();
create trigger begin_anew after truncate on sales.sales_transaction
    for each statement execute function tandem.begin_anew();
create trigger begin_anew after truncate on sales.sales_item
    for each statement execute function tandem.begin_anew();

-- The apply worker fires no others.
alter table sales.sales_transaction enable always trigger date_anew;
alter table sales.sales_item enable always trigger date_anew;
alter table sales.sales_transaction enable always trigger keep_past_sale;
alter table sales.sales_item enable always trigger keep_past_item;
alter table sales.sales_transaction enable always trigger begin_anew;
alter table sales.sales_item enable always trigger begin_anew;

-- Sales of which the rollups do not hold what they look like now, `most` at most. A few among many: block ranges find
-- them, whatever the statistics say, which know nothing of rows that have just come.
create function tandem.changed_sales(folded_xid bigint, sweep_xid bigint, sweep_id uuid, most bigint) returns uuid[]
language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = off set plan_cache_mode = force_generic_plan
-- Nor by walking through all ids in their order.
set enable_indexscan = off set enable_indexonlyscan = off
-- Starting helpers takes longer than all the rest.
set max_parallel_workers_per_gather = 0
as $$
begin
    return array(
        select changed.transaction_id
        from (
            (
                select sale.transaction_id
                from sales.sales_transaction as sale
                where sale.applied_xid >= changed_sales.folded_xid
                    and (
                        changed_sales.sweep_id is null or sale.transaction_id > changed_sales.sweep_id
                        or sale.applied_xid >= changed_sales.sweep_xid
                    )
                limit changed_sales.most
            )
            union
            (
                select distinct item.transaction_id
                from sales.sales_item as item
                where item.applied_xid >= changed_sales.folded_xid
                    and (
                        changed_sales.sweep_id is null or item.transaction_id > changed_sales.sweep_id
                        or item.applied_xid >= changed_sales.sweep_xid
                    )
                limit changed_sales.most
            )
            union
            (
                select distinct past.transaction_id
                from tandem.past_sale as past
                where past.ended_xid >= changed_sales.folded_xid
                    and (
                        changed_sales.sweep_id is null or past.transaction_id > changed_sales.sweep_id
                        or past.ended_xid >= changed_sales.sweep_xid
                    )
                limit changed_sales.most
            )
            union
            (
                select distinct past.transaction_id
                from tandem.past_item as past
                where past.ended_xid >= changed_sales.folded_xid
                    and (
                        changed_sales.sweep_id is null or past.transaction_id > changed_sales.sweep_id
                        or past.ended_xid >= changed_sales.sweep_xid
                    )
                limit changed_sales.most
            )
        ) as changed
        limit changed_sales.most
    );
end
$$;

-- The next sales of a sweep behind `after`, in the order of their ids, `most` at most. Many among all: walked through in
-- the order of an index, so that a whole sweep looks at each row once.
create function tandem.next_changed_sales(folded_xid bigint, sweep_xid bigint, after uuid, most bigint) returns uuid[]
language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set plan_cache_mode = force_generic_plan set max_parallel_workers_per_gather = 0
as $$
begin
    return array(
        select changed.transaction_id
        from (
            (
                select sale.transaction_id
                from sales.sales_transaction as sale
                where sale.transaction_id > after
                    and sale.applied_xid >= next_changed_sales.folded_xid
                    and sale.applied_xid < next_changed_sales.sweep_xid
                order by sale.transaction_id
                limit next_changed_sales.most
            )
            union
            (
                select distinct item.transaction_id
                from sales.sales_item as item
                where item.transaction_id > after
                    and item.applied_xid >= next_changed_sales.folded_xid
                    and item.applied_xid < next_changed_sales.sweep_xid
                order by item.transaction_id
                limit next_changed_sales.most
            )
            union
            (
                select distinct past.transaction_id
                from tandem.past_sale as past
                where past.transaction_id > after
                    and past.ended_xid >= next_changed_sales.folded_xid
                    and past.applied_xid < next_changed_sales.sweep_xid
                order by past.transaction_id
                limit next_changed_sales.most
            )
            union
            (
                select distinct past.transaction_id
                from tandem.past_item as past
                where past.transaction_id > after
                    and past.ended_xid >= next_changed_sales.folded_xid
                    and past.applied_xid < next_changed_sales.sweep_xid
                order by past.transaction_id
                limit next_changed_sales.most
            )
        ) as changed
        order by changed.transaction_id
        limit next_changed_sales.most
    );
end
$$;

-- What became of these sales between what the rollups hold and `until_xid`: their rows before it with sign 1, what the
-- rollups hold of them with sign -1. A row with a product is an item, with its sale's store and so on; one without is a
-- sale. Sums over sign times a figure are what has to be added to the rollups.
create function tandem.change(
    ids uuid[], folded_xid bigint, sweep_xid bigint, sweep_id uuid, until_xid bigint
) returns table (
    sign integer,
    transaction_id uuid,
    transaction_time timestamptz,
    cashier_id integer,
    store_id integer,
    payment_method text,
    total_amount numeric,
    total_discount numeric,
    product_code text,
    category text,
    quantity integer,
    discount numeric,
    total_price numeric
)
language sql stable set search_path = pg_catalog, pg_temp as $$
with held as materialized (
    select
        asked.transaction_id,
        case when asked.transaction_id <= change.sweep_id then change.sweep_xid else change.folded_xid end as horizon
    from unnest(change.ids) as asked (transaction_id)
),
sale as materialized (
    select
        world.sign, transaction_id, sale.transaction_time, sale.cashier_id, sale.store_id, sale.payment_method,
        sale.total_amount, sale.total_discount
    from held
    join sales.sales_transaction as sale using (transaction_id)
    cross join lateral (
        select 1 as sign where sale.applied_xid < change.until_xid
        union all
        select -1 where sale.applied_xid < held.horizon
    ) as world
    union all
    select
        world.sign, transaction_id, past.transaction_time, past.cashier_id, past.store_id, past.payment_method,
        past.total_amount, past.total_discount
    from held
    join tandem.past_sale as past using (transaction_id)
    cross join lateral (
        select 1 as sign where past.applied_xid < change.until_xid and past.ended_xid >= change.until_xid
        union all
        select -1 where past.applied_xid < held.horizon and past.ended_xid >= held.horizon
    ) as world
),
item as (
    select
        world.sign, transaction_id, item.product_code, item.category, item.quantity, item.discount, item.total_price
    from held
    join sales.sales_item as item using (transaction_id)
    cross join lateral (
        select 1 as sign where item.applied_xid < change.until_xid
        union all
        select -1 where item.applied_xid < held.horizon
    ) as world
    union all
    select
        world.sign, transaction_id, past.product_code, past.category, past.quantity, past.discount, past.total_price
    from held
    join tandem.past_item as past using (transaction_id)
    cross join lateral (
        select 1 as sign where past.applied_xid < change.until_xid and past.ended_xid >= change.until_xid
        union all
        select -1 where past.applied_xid < held.horizon and past.ended_xid >= held.horizon
    ) as world
)
select
    sign, transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
    null, null, null, null, null
from sale
union all
select
    sign, transaction_id, sale.transaction_time, sale.cashier_id, sale.store_id, sale.payment_method, null, null,
    item.product_code, coalesce(item.category, ''), item.quantity, item.discount, item.total_price
from sale
join item using (sign, transaction_id)
$$;

-- Makes block ranges that have been filled since findable by what is in them. Only an owner may.
create function tandem.summarize_block_ranges() returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
select pg_catalog.brin_summarize_new_values('sales.sales_transaction_applied_xid_idx');
select pg_catalog.brin_summarize_new_values('sales.sales_item_applied_xid_idx')
$$;

-- After a dump was restored into another cluster: all rows are dated in this one, and nothing is in the rollups. Only an
-- owner may.
create function tandem.begin_in_this_cluster() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    lock table sales.sales_transaction, sales.sales_item in share row exclusive mode;
    alter table sales.sales_transaction disable trigger keep_past_sale;
    alter table sales.sales_item disable trigger keep_past_item;
    update sales.sales_transaction set applied_xid = txid_current();
    update sales.sales_item set applied_xid = txid_current();
    alter table sales.sales_transaction enable always trigger keep_past_sale;
    alter table sales.sales_item enable always trigger keep_past_item;
    truncate tandem.past_sale, tandem.past_item, tandem.rollup, tandem.product;
    update tandem.fold
    set folded_xid = 0, sweep_xid = 0, sweep_id = null, system_identifier = control.system_identifier
    from pg_control_system() as control;
    update tandem.past set kept_xid = txid_current() + 1;
end
$$;

revoke all on function tandem.begin_in_this_cluster() from public;
grant execute on function tandem.begin_in_this_cluster() to tandem_query;
revoke all on function tandem.summarize_block_ranges() from public;
grant execute on function tandem.summarize_block_ranges() to tandem_query;
grant select, delete on tandem.past_sale, tandem.past_item to tandem_query;
grant select, update on tandem.past to tandem_query;
grant select, insert, update, delete on tandem.fold, tandem.rollup, tandem.product to tandem_query;

reset role;

-- What figures cost is guessed too high here, and compiling them takes longer than making them.
alter role tandem_query set jit = off;
