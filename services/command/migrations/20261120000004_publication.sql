-- Tables by name and columns by name: a table or column that is added later is published by a migration of its own,
-- once the replica has it.
create publication tandem_publication for table
    sales.sales_transaction (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version
    ),
    sales.sales_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    ),
    tandem.watermark (writer, system_identifier, timeline, lsn, written_at);
