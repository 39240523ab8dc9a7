module lab.local/plugin

go 1.26.0
