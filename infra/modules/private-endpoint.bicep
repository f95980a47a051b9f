// Makes one service reachable under its own name inside the virtual network.
param location string
param tags object
param name string
param subnetId string
param targetId string

@description('Which part of the service: blob, queue, table, vault or sites.')
param part string
param zoneId string

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      {
        name: part
        properties: { privateLinkServiceId: targetId, groupIds: [part] }
      }
    ]
  }
}

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      { name: part, properties: { privateDnsZoneId: zoneId } }
    ]
  }
}
