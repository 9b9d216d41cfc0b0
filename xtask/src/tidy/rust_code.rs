//! Rust without its comments, documentation and unit tests: names and strings, each with its line.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A token that rules care for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Name(String),
    /// The characters between the quotes, escapes as they were written.
    Text(String),
    /// `::` is two of these.
    Mark(char),
    Open,
    Close,
}

/// The tokens of a file. A file that is no Rust has none: the compiler says more about it than we could.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    if let Ok(stream) = TokenStream::from_str(text) {
        flatten(stream, &mut tokens);
    }
    tokens
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let mut push = |kind| into.push(Token { line, kind });
        match tree {
            TokenTree::Punct(mark) if mark.as_char() == '#' => match trees.peek() {
                Some(attribute) if is_attribute(attribute, "doc") => {
                    trees.next();
                }
                Some(attribute) if is_attribute(attribute, "cfg") && attribute.to_string().contains("(test)") => {
                    trees.next();
                    skip_item(&mut trees);
                }
                _ => push(Kind::Mark('#')),
            },
            TokenTree::Punct(mark) => push(Kind::Mark(mark.as_char())),
            TokenTree::Ident(name) => push(Kind::Name(name.to_string())),
            TokenTree::Literal(literal) => {
                if let Some(text) = between_quotes(&literal.to_string()) {
                    push(Kind::Text(text.to_owned()));
                }
            }
            TokenTree::Group(group) => {
                push(Kind::Open);
                flatten(group.stream(), into);
                into.push(Token { line: group.span_close().start().line, kind: Kind::Close });
            }
        }
    }
}

fn is_attribute(tree: &TokenTree, name: &str) -> bool {
    let TokenTree::Group(group) = tree else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && first.is_some_and(|first| first.to_string() == name)
}

/// An item ends with its braces or with a semicolon.
fn skip_item(trees: &mut impl Iterator<Item = TokenTree>) {
    for tree in trees {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(mark) if mark.as_char() == ';' => return,
            _ => {}
        }
    }
}

fn between_quotes(literal: &str) -> Option<&str> {
    let start = literal.find('"')?;
    let end = literal.rfind('"')?;
    literal.get(start + 1..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(usize, String)> {
        let named = tokens(text).into_iter().filter_map(|token| match token.kind {
            Kind::Name(name) => Some((token.line, name)),
            _ => None,
        });
        named.collect()
    }

    #[test]
    fn comments_documentation_strings_and_tests_are_no_names() {
        let text = "// sqlx\n/// sqlx\nfn a() { \"sqlx\"; }\n#[cfg(test)]\nmod tests { use sqlx; }\nfn b() {}\n";
        let expected = [(3, "fn"), (3, "a"), (6, "fn"), (6, "b")];
        assert_eq!(names(text), expected.map(|(line, name)| (line, name.to_owned())));
    }

    #[test]
    fn an_import_for_tests_ends_at_its_semicolon() {
        assert_eq!(names("#[cfg(test)]\nuse a;\nb").last(), Some(&(3, "b".to_owned())));
    }

    #[test]
    fn raw_strings_are_strings() {
        let kinds: Vec<_> = tokens("r#\"select 'a'\"#").into_iter().map(|token| token.kind).collect();
        assert_eq!(kinds, [Kind::Text("select 'a'".to_owned())]);
    }
}
