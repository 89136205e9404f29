"""Networks: generators that make pictures, critics that weigh them, features that compare them."""
