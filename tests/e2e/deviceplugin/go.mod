module lab.local/deviceplugin

go 1.26.0
