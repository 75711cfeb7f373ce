// @ts-check
// Behaviour of every page that htmx does not provide.

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
