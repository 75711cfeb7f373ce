"""The public names of findable for Python: what a task of one's own is declared with. Nothing else is promised.

```python
from pydantic import BaseModel
from findable import Quote, Task
```
"""

from pipeline.core.declaration import Declaration as Task
from pipeline.core.quotes import Quote

__all__ = ["Quote", "Task"]
