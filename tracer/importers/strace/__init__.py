"""Import the output of strace 4.5 to 7.x: `log.open_log`.

log                what kind of log it is, its notes, its files in order
family             the files of `-ff`, one for each task, in one order
lexer, values      the grammar of one line, and of what stands inside it
line_reader        lines as they stand in a file -> whole lines
line_attribution   which task a line belongs to
syscall_handlers   what each call, signal and exit line means
births, ends       parents and exits from incomplete evidence
event_rows         events, each birth before what the process does
block_reader       the same for many lines at once: tokens (numpy), then one loop over the rows that matter
"""
