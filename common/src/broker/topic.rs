//! Topic patterns with AMQP's meaning: words between dots, `*` one word, `#` any number of words.

/// Whether `topic` matches `pattern`.
pub(super) fn matches(pattern: &str, topic: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let topic: Vec<&str> = topic.split('.').collect();
    // `reached[i]` says whether the pattern so far can have eaten the first `i` words. Walking the
    // pattern once over this row stays quadratic however many `#` a pattern has.
    let mut reached = vec![false; topic.len() + 1];
    reached.iter_mut().take(1).for_each(|start| *start = true);
    for word in pattern {
        let mut next = vec![false; topic.len() + 1];
        let mut above = false;
        for (i, (slot, was)) in next.iter_mut().zip(&reached).enumerate() {
            if word == "#" {
                above |= *was;
                *slot = above;
            } else {
                let eaten = i.checked_sub(1).and_then(|last| topic.get(last));
                *slot = above && eaten.is_some_and(|text| word == "*" || *text == word);
                above = *was;
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_mean_what_amqp_says() {
        for (pattern, topic, expected) in [
            ("log.12.3", "log.12.3", true),
            ("log.12.3", "log.12.4", false),
            ("log.*.3", "log.12.3", true),
            ("log.*", "log.12.3", false),
            ("log.#", "log.12.3", true),
            ("log.#", "log", true),
            ("#", "anything.at.all", true),
            ("#.3", "log.12.3", true),
            ("#.3", "3", true),
            ("*", "log", true),
            ("*", "log.1", false),
            ("#.#.b.#", "a.b.c", true),
            ("#.#.b.#", "a.c", false),
            ("heartbeat.#", "heartbeat.gpu-1.lab", true),
        ] {
            assert_eq!(matches(pattern, topic), expected, "{pattern} {topic}");
        }
    }
}
