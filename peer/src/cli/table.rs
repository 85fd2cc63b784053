//! Rows under each other, for a terminal.

/// A column: its head, and on which side its values stand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// On the left.
    Text(&'static str),
    /// On the right.
    Number(&'static str),
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Text(head) | Self::Number(head) => head,
        }
    }
}

/// Text that does nothing to a terminal, whoever has sent it.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect()
}

/// The rows, each as long as there are columns, below their heads.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let heads = columns.iter().map(|column| column.head().to_owned()).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let all = || std::iter::once(&heads).chain(&rows);
    let width = |index: usize| all().map(|row: &Vec<String>| row[index].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|index| width(index).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in all() {
        let mut line = String::from(" ");
        for ((cell, column), width) in row.iter().zip(columns).zip(&widths) {
            let gap = " ".repeat(width - cell.chars().count());
            line.push(' ');
            match column {
                Column::Text(_) => line.extend([cell, gap.as_str()]),
                Column::Number(_) => line.extend([gap.as_str(), cell]),
            }
            line.push(' ');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_heads_and_nothing_reaches_the_terminal() {
        let columns = [Column::Text("NAME"), Column::Number("N")];
        let rows = [
            vec!["a".to_owned(), "10".to_owned()],
            vec!["\u{1b}[2Jlong".to_owned(), "7".to_owned()],
        ];
        assert_eq!(
            table(&columns, &rows),
            "  NAME       N\n  a         10\n  \u{fffd}[2Jlong   7\n"
        );
    }
}
