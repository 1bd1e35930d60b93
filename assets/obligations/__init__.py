"""Who owes what to whom: trades on which both sides agree, and the chains of obligations made of them."""
