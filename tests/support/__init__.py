"""What tests of several rooms share: tiny models and what goes with them, requests, replies, stub servers."""
