//! Questions about figures: one function for each RPC.

use tandem_proto::sales::query::v1::{
    self as wire, GetBreakdownRequest, GetRevenueSeriesRequest, GetSummaryRequest, ListStoresRequest,
    ListTopProductsRequest, ProductRanking, ReadConsistency, TimeRange,
};

use super::reader::{Decoded, Reader};
use crate::domain::{
    Consistency, Dimension, Fault, FiguresQuestion, Granularity, LocalRange, Range, Ranking, SalesFilter, Step,
    StorePageToken, StoresQuestion, hours_of_week,
    limits::{DEFAULT_GROUPS, DEFAULT_PRODUCTS, DEFAULT_STORES, MAX_GROUPS, MAX_PRODUCTS, MAX_STORES},
    steps,
};

/// Figures of a range and of the period before it.
pub struct Summary {
    pub range: LocalRange,
    pub previous: Option<LocalRange>,
    /// The range is step 0, the period before it step 1.
    pub question: FiguresQuestion,
    pub consistency: Consistency,
}

/// Figures step by step.
pub struct Series {
    pub range: LocalRange,
    pub steps: Vec<Step>,
    /// By [`Dimension::All`]: one series of all.
    pub question: FiguresQuestion,
    pub consistency: Consistency,
}

/// A ranking of products.
pub struct TopProducts {
    pub range: LocalRange,
    pub question: FiguresQuestion,
    pub ranking: Ranking,
    pub limit: usize,
    pub consistency: Consistency,
}

/// Groups beside each other.
pub struct Breakdown {
    pub range: LocalRange,
    pub question: FiguresQuestion,
    /// How many groups; `None`: each hour of the week, which is its step.
    pub limit: Option<usize>,
    pub consistency: Consistency,
}

/// A page of stores.
pub struct Stores {
    /// Over the range of the first page, like all pages of a listing.
    pub asked: StoresQuestion,
    pub question: FiguresQuestion,
    pub size: usize,
    pub after: Option<i32>,
    pub consistency: Consistency,
}

/// What all questions about figures have.
struct Asked {
    range: LocalRange,
    until_now: bool,
    filter: SalesFilter,
    consistency: Consistency,
}

impl Reader {
    fn asked(
        &mut self,
        range: Option<TimeRange>,
        filter: Option<wire::SalesFilter>,
        consistency: Option<ReadConsistency>,
    ) -> Option<Asked> {
        let range = self.range_of_figures(range);
        let filter = self.sales_filter(filter);
        let consistency = self.consistency(consistency);
        let (range, until_now) = range?;
        Some(Asked { range, until_now, filter: filter?, consistency: consistency? })
    }

    /// As [`Reader::count`], for lists.
    fn length(&mut self, field: &str, count: i32, default: i32, max: i32) -> Option<usize> {
        self.count(field, count, default, max).map(|count| usize::try_from(count).unwrap_or_default())
    }
}

/// All of a range as step 0.
fn whole(range: &LocalRange) -> [(i32, Range); 1] {
    [(0, range.range)]
}

pub fn get_summary(message: GetSummaryRequest) -> Decoded<Summary> {
    let mut reader = Reader::new();
    let asked = reader.asked(message.range, message.filter, message.consistency);
    reader.finish(asked.map(|Asked { range, filter, consistency, .. }| {
        let previous = range.previous();
        let before = previous.iter().map(|previous| (1, previous.range));
        let question = FiguresQuestion::new(whole(&range).into_iter().chain(before), Dimension::All, filter);
        Summary { range, previous, question, consistency }
    }))
}

pub fn get_revenue_series(message: GetRevenueSeriesRequest) -> Decoded<Series> {
    let mut reader = Reader::new();
    let asked = reader.asked(message.range, message.filter, message.consistency);
    let granularity = reader.value("granularity", message.granularity, |granularity| {
        Ok(match granularity {
            wire::Granularity::Unspecified | wire::Granularity::Day => Granularity::Day,
            wire::Granularity::Hour => Granularity::Hour,
            wire::Granularity::Week => Granularity::Week,
            wire::Granularity::Month => Granularity::Month,
        })
    });
    let dimension = reader.value("group_by", message.group_by, |group_by| match group_by {
        wire::Dimension::Unspecified => Ok(Dimension::All),
        other => dimension(other).ok_or(Fault::UnsupportedDimension),
    });
    let steps = asked.as_ref().zip(granularity).map(|(asked, granularity)| steps(&asked.range, granularity));
    let steps = steps.and_then(|steps| reader.check("range", steps));
    let series = asked.zip(steps).zip(dimension);
    reader.finish(series.map(|((asked, steps), dimension)| {
        let Asked { range, filter, consistency, .. } = asked;
        let numbered = (0..).zip(&steps).map(|(number, step)| (number, step.range));
        let question = FiguresQuestion::new(numbered, dimension, filter);
        Series { range, steps, question, consistency }
    }))
}

pub fn list_top_products(message: ListTopProductsRequest) -> Decoded<TopProducts> {
    let mut reader = Reader::new();
    let asked = reader.asked(message.range, message.filter, message.consistency);
    let limit = reader.length("limit", message.limit, DEFAULT_PRODUCTS, MAX_PRODUCTS);
    let ranking = reader.value("ranking", message.ranking, |ranking| {
        Ok(match ranking {
            ProductRanking::Unspecified | ProductRanking::Revenue => Ranking::Revenue,
            ProductRanking::Quantity => Ranking::Quantity,
        })
    });
    reader.finish(asked.zip(limit).zip(ranking).map(|((asked, limit), ranking)| {
        let Asked { range, filter, consistency, .. } = asked;
        let question = FiguresQuestion::new(whole(&range), Dimension::Product, filter);
        TopProducts { range, question, ranking, limit, consistency }
    }))
}

pub fn get_breakdown(message: GetBreakdownRequest) -> Decoded<Breakdown> {
    let mut reader = Reader::new();
    let asked = reader.asked(message.range, message.filter, message.consistency);
    let limit = reader.length("limit", message.limit, DEFAULT_GROUPS, MAX_GROUPS);
    // `None` is the hour of the week.
    let by = reader.value("dimension", message.dimension, |by| match by {
        wire::Dimension::Unspecified => Err(Fault::Missing),
        other => Ok(dimension(other)),
    });
    let hours = match (&asked, by) {
        (Some(asked), Some(None)) => reader.check("range", hours_of_week(&asked.range)),
        _ => Some(Vec::new()),
    };
    let breakdown = asked.zip(limit).zip(by.zip(hours));
    reader.finish(breakdown.map(|((asked, limit), (by, hours))| {
        let Asked { range, filter, consistency, .. } = asked;
        let (question, limit) = match by {
            Some(by) => (FiguresQuestion::new(whole(&range), by, filter), Some(limit)),
            None => (FiguresQuestion::new(hours, Dimension::All, filter), None),
        };
        Breakdown { range, question, limit, consistency }
    }))
}

pub fn list_stores(message: ListStoresRequest) -> Decoded<Stores> {
    let mut reader = Reader::new();
    let asked = reader.asked(message.range, message.filter, message.consistency);
    let size = reader.length("page_size", message.page_size, DEFAULT_STORES, MAX_STORES);
    let token = match message.page_token.as_str() {
        "" => Some(None),
        token => reader.check("page_token", token.parse::<StorePageToken>()).map(Some),
    };
    let asked = asked.map(|Asked { range, until_now, filter, consistency }| {
        (StoresQuestion { range, until_now, filter }, consistency)
    });
    let cursor = match (&asked, token) {
        (Some((asked, _)), Some(Some(token))) => reader.check("page_token", token.cursor(asked)).map(Some),
        (_, token) => token.and(Some(None)),
    };
    reader.finish(asked.zip(size).zip(cursor).map(|(((mut asked, consistency), size), cursor)| {
        // Every page is over the range of the first.
        asked.range.range = cursor.map_or(asked.range.range, |cursor| cursor.range);
        let question = FiguresQuestion::new(whole(&asked.range), Dimension::Store, asked.filter.clone());
        Stores { asked, question, size, after: cursor.map(|cursor| cursor.store_id), consistency }
    }))
}

/// What figures are grouped by; `None` for what is told apart by steps.
const fn dimension(dimension: wire::Dimension) -> Option<Dimension> {
    match dimension {
        wire::Dimension::Unspecified => Some(Dimension::All),
        wire::Dimension::Store => Some(Dimension::Store),
        wire::Dimension::Cashier => Some(Dimension::Cashier),
        wire::Dimension::Category => Some(Dimension::Category),
        wire::Dimension::PaymentMethod => Some(Dimension::PaymentMethod),
        wire::Dimension::WeekdayHour => None,
    }
}
