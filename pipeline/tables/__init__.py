"""Tables that another program may have made: reflected, judged and adopted by one piece of code for every subject."""
