// @ts-check
// Behaviour of every page that htmx does not provide.

import htmx from "./htmx.min.js";
import "./keys.js";
import "./menus.js";
import "./swaps.js";
import "./choice_cells.js";
import "./editor_name.js";
import "./row_list.js";
import "./commands.js";
import "./connection.js";
import "./relative_times.js";
import "./range_filter.js";
import "./chosen_rows.js";
import "./edit.js";
import "./review.js";

// By itself htmx begins in a timer: a key pressed before it would send a form as a page of its own.
htmx.initialize();
