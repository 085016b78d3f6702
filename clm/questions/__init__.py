"""What other processes are asked: for each question its inputs, its answer, and how the answer is checked."""
