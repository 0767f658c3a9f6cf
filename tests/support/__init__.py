"""What the tests share: cases with the oracle's answers, generators of random cases, comparison."""
