"""From LLMRouter's pickles to artifacts: opened in a process of their own, which may do nothing else."""
