"""The engine on vLLM servers, spoken to over HTTP."""
