"""The harness: a stock proxy, real A2A agents of both protocol generations, official clients, databases."""
